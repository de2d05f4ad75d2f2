"""Envelope encryption: what is sealed opens in its place, under its key, and nowhere else."""

from __future__ import annotations

import pytest

from datalane.kit.envelope import MasterKeyMissing, MasterKeys, SealBroken, make_data_key, open_sealed, seal

OLD, NEW = "the first master key of the lane", "the second master key of the lane"
HOME = b"workspace"


def test_what_is_sealed_opens_in_its_place() -> None:
    key = make_data_key()
    assert len(key) == 32
    for plain in (b"", b"secret", bytes(100_000)):
        assert open_sealed(key, seal(key, plain, b"here"), b"here") == plain


def test_the_same_secret_is_never_sealed_alike_and_never_stands_in_what_is_stored() -> None:
    key = make_data_key()
    sealed = {seal(key, b"a secret text", b"here") for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"secret" in one for one in sealed)


def test_every_changed_bit_is_noticed() -> None:
    key = make_data_key()
    sealed = seal(key, b"secret", b"here")
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(SealBroken):
            open_sealed(key, bytes(changed), b"here")
    for cut in range(len(sealed)):
        with pytest.raises(SealBroken):
            open_sealed(key, sealed[:cut], b"here")


def test_it_opens_neither_elsewhere_nor_by_another_key() -> None:
    key = make_data_key()
    sealed = seal(key, b"secret", b"here")
    with pytest.raises(SealBroken, match="another place"):
        open_sealed(key, sealed, b"there")
    with pytest.raises(SealBroken):
        open_sealed(make_data_key(), sealed, b"here")


def test_a_data_key_is_unwrapped_by_the_key_before_and_wrapped_by_the_new_one() -> None:
    data_key, before, after = make_data_key(), MasterKeys(OLD), MasterKeys(NEW, [OLD])
    wrapped = before.wrap(data_key, HOME)
    assert after.unwrap(wrapped, HOME) == data_key
    anew = after.wrap(data_key, HOME)
    assert anew.master_key_id == after.current_id != wrapped.master_key_id
    assert MasterKeys(NEW).unwrap(anew, HOME) == data_key
    with pytest.raises(MasterKeyMissing, match=wrapped.master_key_id):
        MasterKeys(NEW).unwrap(wrapped, HOME)
    with pytest.raises(SealBroken):
        after.unwrap(wrapped, b"another workspace")


def test_a_master_key_is_not_told() -> None:
    keys = MasterKeys(OLD)
    assert OLD not in repr(keys)
    assert keys.current_id not in OLD.encode().hex()
    with pytest.raises(ValueError, match="empty"):
        MasterKeys("")
