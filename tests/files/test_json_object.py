import pytest

from lisa_jax.files.json_object import JsonError, read_object


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": ', "is not valid JSON"),
        (b"<!doctype html>", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b'{"a": 1,\n}', "is not valid JSON .(a comma before the closing bracket|Illegal trailing comma)"),
        (b"[1, 2]", "holds a JSON list, but must hold an object"),
        (b"null", "holds a JSON null, but must hold an object"),
        ('{"a": "é"}'.encode("latin-1"), "is not UTF-8"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON"),
    ],
)
def test_what_is_no_object_is_refused_by_place_and_reason(tmp_path, content, reason):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(JsonError, match=reason) as caught:
        read_object(path)
    assert str(caught.value).startswith(str(path))


def test_a_folder_or_device_is_refused_before_it_is_read():
    with pytest.raises(JsonError, match="'/dev/zero' is a device, but must be a file"):
        read_object("/dev/zero")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_object(tmp_path / "config.json") == {"a": 1}
