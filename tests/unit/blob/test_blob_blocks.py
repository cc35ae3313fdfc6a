"""Block blobs in pieces: what was put, in which order, and what is left of the rest."""

from __future__ import annotations

import base64
import hashlib

BLOCK_LIST = "<?xml version='1.0' encoding='utf-8'?><BlockList>{}</BlockList>"


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def block_id(number: int) -> str:
    return base64.b64encode(f"{number:08}".encode()).decode()


def put_block(rig, name, number, data):
    return rig.request("PUT", name, f"comp=block&blockid={block_id(number)}", body=data)


def put_list(rig, name, *numbers, kind="Latest", **headers):
    inner = "".join(f"<{kind}>{block_id(number)}</{kind}>" for number in numbers)
    return rig.request("PUT", name, "comp=blocklist", headers, BLOCK_LIST.format(inner).encode())


def test_blocks_in_order_become_the_blob_without_a_copy(rig):
    for number in (1, 2, 3):
        assert put_block(rig, "big", number, bytes([number]) * 1000).status == 201
    assert rig.get("big").status == 404
    spool = next((rig.root / "blobs/.staging/blocks").glob("*/data-*")).stat().st_ino
    assert put_list(rig, "big", 1, 2, 3).status == 201
    assert (rig.folder / "big").stat().st_ino == spool
    assert rig.get("big").body == b"".join(bytes([number]) * 1000 for number in (1, 2, 3))
    assert rig.staged_files() == []


def test_blocks_out_of_order_again_and_left_out(rig):
    put_block(rig, "a", 2, b"two")
    put_block(rig, "a", 1, b"one")
    put_block(rig, "a", 9, b"left out")
    put_block(rig, "a", 2, b"TWO")
    listed = rig.request("GET", "a", "comp=blocklist&blocklisttype=all").xml()
    assert [element.text for element in listed.findall("UncommittedBlocks/Block/Size")] == ["3", "8", "3"]
    assert put_list(rig, "a", 1, 2, 1).status == 201
    assert rig.get("a").body == b"oneTWOone"
    listed = rig.request("GET", "a", "comp=blocklist&blocklisttype=all").xml()
    assert len(listed.findall("UncommittedBlocks/Block")) == 0


def test_a_committed_list_can_be_extended(rig):
    put_block(rig, "a", 1, b"one")
    put_block(rig, "a", 2, b"two")
    assert put_list(rig, "a", 1, 2).status == 201
    put_block(rig, "a", 3, b"three")
    inner = f"<Committed>{block_id(2)}</Committed><Uncommitted>{block_id(3)}</Uncommitted>"
    assert rig.request("PUT", "a", "comp=blocklist", body=BLOCK_LIST.format(inner).encode()).status == 201
    assert rig.get("a").body == b"twothree"


def test_a_list_that_cannot_be_leaves_blob_and_blocks(rig):
    put_block(rig, "a", 1, b"one")
    missing = put_list(rig, "a", 1, 7)
    assert (missing.status, missing.code) == (400, "InvalidBlockList")
    rig.put("b", b"there")
    put_block(rig, "b", 1, b"one")
    assert put_list(rig, "b", 1, **{"if-none-match": "*"}).code == "BlobAlreadyExists"
    assert rig.get("b").body == b"there"
    assert put_list(rig, "b", 1).status == 201
    for wrong in (b"not xml", b"<Other/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><BlockList/>"):
        assert rig.request("PUT", "a", "comp=blocklist", body=wrong).code == "InvalidXmlDocument"
    assert put_list(rig, "a", 1).status == 201


def test_blocks_outlive_a_restart(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    put_block(first, "a", 1, b"one")
    first.close()
    second = make_rig(tmp_path / "root")
    put_block(second, "a", 2, b"two")
    assert put_list(second, "a", 1, 2).status == 201
    assert second.get("a").body == b"onetwo"
