from lisa_jax.files.changes import changes


def test_each_difference_is_told_by_its_dotted_name_and_hashes_are_not_shown():
    before = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": ["0" * 64], "g": {"h": 1}, "same": {"i": 1}}
    now = {"a": 1, "b": {"c": [1], "d": {"e": 3}}, "f": ["1" * 64], "g": 2, "j": "x" * 300, "same": {"i": 1}}
    assert changes(before, now) == [
        "b.c was [1, 2] and is [1] now",
        "b.d.e was null and is 3 now",
        "f is another than it was",
        'g was {"h": 1} and is 2 now',
        f'j was missing and is "{"x" * 189}... now',
    ]
    assert changes(before, before) == []
    assert changes({"f": "that of /data"}, {"f": "0" * 64}) == ['f was "that of /data" and is 000000000000... now']
