"""What may be done with documents, search and answers, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

_INDEX = ("chunks", "chunk_vectors", "search_postings", "search_entries", "search_totals")

READ_DOCUMENTS = MATRIX.allow(
    Role.VIEWER, "document.read", needs=["datalane.documents:select", "datalane.document_versions:select"]
)
ADD_DOCUMENTS = MATRIX.allow(
    Role.MEMBER,
    "document.create",
    needs=["datalane.documents:insert", "datalane.document_versions:insert", "datalane.document_sources:insert"],
)
DELETE_DOCUMENTS = MATRIX.allow(Role.ADMIN, "document.delete", needs=["datalane.documents:delete"])
# A member who may write the index may also replace what is in it.
INDEX_CHUNKS = MATRIX.allow(
    Role.MEMBER,
    "retrieval.index",
    needs=[
        *(f"datalane.{table}:insert" for table in _INDEX),
        *(f"datalane.{table}:delete" for table in ("chunk_vectors", "search_postings", "search_entries")),
    ],
)
READ_MODELS = MATRIX.allow(
    Role.VIEWER,
    "embedding_model.read",
    needs=[f"datalane.{table}:select" for table in ("embedding_models", "vector_indexes")],
)
MANAGE_MODELS = MATRIX.allow(
    Role.ADMIN,
    "embedding_model.change",
    needs=["datalane.embedding_models:insert", "datalane.embedding_models:update"],
)
QUERY = MATRIX.allow(
    Role.VIEWER,
    "retrieval.query",
    needs=[
        "datalane.log_retrieval",
        *(
            f"datalane.{table}:select"
            for table in (*_INDEX, "embedding_models", "vector_indexes", "retrieval_log", "confidence_calibrations")
        ),
    ],
)
RECORD_EVALUATIONS = MATRIX.allow(
    Role.MEMBER,
    "evaluation.record",
    needs=["datalane.evaluation_runs:insert", "datalane.evaluation_results:insert"],
)
READ_EVALUATIONS = MATRIX.allow(
    Role.VIEWER,
    "evaluation.read",
    needs=["datalane.evaluation_runs:select", "datalane.evaluation_results:select"],
)
READ_CALIBRATIONS = MATRIX.allow(Role.VIEWER, "confidence.read", needs=["datalane.confidence_calibrations:select"])
CALIBRATE = MATRIX.allow(Role.ADMIN, "confidence.calibrate", needs=["datalane.confidence_calibrations:insert"])
CITE = MATRIX.allow(
    Role.MEMBER,
    "citation.create",
    needs=["datalane.responses:insert", "datalane.response_segments:insert", "datalane.citations:insert"],
)
GIVE_FEEDBACK = MATRIX.allow(Role.MEMBER, "feedback.give", needs=["datalane.feedback:insert"])
READ_FEEDBACK = MATRIX.allow(Role.VIEWER, "feedback.read", needs=["datalane.feedback:select"])
READ_CITATIONS = MATRIX.allow(
    Role.VIEWER, "citation.read", needs=["datalane.citations:select", "datalane.citation_moderations:select"]
)
MODERATE_CITATIONS = MATRIX.allow(Role.ADMIN, "citation.moderate", needs=["datalane.citation_moderations:insert"])
