"""What a user is told where the hub fails: commands as they are, the client as it is, against a server on loopback."""

import io
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.machine import machine
from PIL import Image
from toys.hub_server import COMMIT, HubServer, commit_of

# Never fetched, and fetched by one test each.
UNSEEN, PICTURES, OTHERS = "an-owner/unseen", "an-owner/pictures", "an-owner/others"
NETWORK, KEPT = "an-owner/network", "an-owner/kept"
CATS, DOGS = "cats/train/0000.parquet", "dogs/train/0000.parquet"
BAD_TOKEN = "Invalid credentials in Authorization header"
# Status and headers of an answer, and what is told of it.
REFUSALS = [
    ((503, {}), "answers with status 503, and it is not in the cache: try again, set HF_ENDPOINT to a mirror, or give"),
    ((429, {"Retry-After": "60"}), "answers with status 429, and it is not in the cache: try again"),
    ((403, {}), "refuses it (status 403): log in by `hf auth login`, or set HF_TOKEN to one that may read it."),
    ((401, {"X-Error-Message": BAD_TOKEN}), f"refuses it (status 401, {BAD_TOKEN!r}): log in by `hf auth login`"),
    ((401, {"X-Error-Code": "GatedRepo"}), "is gated: accept its terms on its page, then log in by"),
    ((404, {}), "answers with status 404: mind HF_ENDPOINT, or give a folder."),
    # A page, as of a hotel's network.
    ((200, {}), "does not answer as a hub does, and it is not in the cache: mind HF_ENDPOINT, or log in to this"),
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "png")
    for path in (CATS, DOGS):
        (folder / path).parent.mkdir(parents=True)
        rows = [{"image": {"bytes": file.getvalue(), "path": None}, "text": path}]
        pq.write_table(pa.Table.from_pylist(rows), folder / path)
    for name, text in ((".gitattributes", "*.parquet filter=lfs\n"), ("config.json", "{}")):
        (folder / name).write_text(text)
    datasets = {name: {"main": folder} for name in (UNSEEN, PICTURES, OTHERS)}
    with HubServer({NETWORK: folder, KEPT: folder}, datasets=datasets) as server:
        yield server


@pytest.fixture(autouse=True)
def well(hub):
    """Whatever a test makes the hub answer, the next one finds it well."""
    yield
    hub.answers = {}


@pytest.fixture(scope="module")
def forking(hub, command_env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    of_hub = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hub"), "HF_HUB_ETAG_TIMEOUT": "1", "HF_TOKEN": "none"}
    env = command_env | of_hub | {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    with machine(folder, env) as forking:
        yield forking


@pytest.fixture
def run(forking, tmp_path):
    """flags -> outcome of a command."""
    return lambda *argv: forking.run(argv, tmp_path)


def prepare(source, *flags, out="set"):
    usual = [f"--source={source}", f"--out={out}", "--condition=canny", "--cache=none", "--test_fraction=0"]
    return ["prepare", *usual, "--image_size=64", *flags]


def sample(base, controlnet="none"):
    return ["sample", f"--base={base}", f"--controlnet={controlnet}", "--condition=none.png", "--prompt=a", "--out=out"]


def refused(done, *told):
    """An end with one sentence, and nothing else on the terminal."""
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ") and all(part in done.stderr for part in told), done.stderr


def lines(done):
    """What was said, without progress bars."""
    return [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line]


@pytest.mark.parametrize(("answer", "told"), REFUSALS, ids=[str(answer[0]) for answer, _ in REFUSALS])
def test_what_the_hub_answers_is_told_in_one_sentence(hub, run, answer, told):
    hub.answers = {"/an-owner/": answer}
    refused(run(*prepare(UNSEEN)), UNSEEN, told)
    refused(run(*sample(NETWORK)), NETWORK, told)


def test_a_hub_that_is_gone_or_never_answers_is_told_in_seconds(hub, run, tiny_base):
    hub.answers = {"/an-owner/": (0, {})}
    for argv in (prepare(UNSEEN), sample(NETWORK)):
        refused(run(*argv), f"{hub.url} cannot be reached (timed out), and it is not in the cache: try again, set HF_")
    names = (NETWORK, f"{NETWORK}/a.safetensors", f"{NETWORK}@{'0' * 40}")
    with hub.gone():
        for argv in (prepare(UNSEEN), *map(sample, names), sample(tiny_base, NETWORK)):
            start = time.monotonic()
            refused(run(*argv), "cannot be reached ([Errno 111] Connection refused), and it is not in the cache: try")
            # The client would try five times more, in 23 seconds.
            assert time.monotonic() - start < 20


def test_what_is_in_the_cache_is_used_where_the_hub_fails_and_what_is_not_is_named(hub, run):
    assert run(*prepare(PICTURES, "--subset=cats")).returncode == 0
    kept = f"what is in the cache is used, commit {commit_of(PICTURES, 'main')}."
    hub.answers = {"/an-owner/": (503, {})}
    used = run(*prepare(PICTURES, "--subset=cats", out="slow"))
    assert used.returncode == 0, used.stderr
    assert lines(used)[0] == f"{PICTURES}: {hub.url} answers with status 503; {kept}"
    assert used.stderr.count("503") == 1
    hub.answers = {"/an-owner/": (200, {})}
    used = run(*prepare(PICTURES, "--subset=cats", out="page"))
    assert used.returncode == 0 and lines(used)[0] == f"{PICTURES}: {hub.url} does not answer as a hub does; {kept}"
    with hub.gone():
        used = run(*prepare(PICTURES, "--subset=cats", out="gone"))
        assert used.returncode == 0 and f"cannot be reached ([Errno 111] Connection refused); {kept}" in lines(used)[0]
        # That there is another subset is known, and which files it has.
        several, lacking = (run(*prepare(PICTURES, *flags, out="no")) for flags in ((), ("--subset=dogs",)))
    assert lines(several)[1:] == [f"error: {PICTURES} has several subsets (cats, dogs): choose one by --subset."]
    assert lacking.returncode == 1 and f"Connection refused), and the cache lacks {DOGS}: try" in lines(lacking)[-1]
    hub.answers = {"/an-owner/": (403, {})}
    refused(run(*prepare(PICTURES, "--subset=cats", out="no")), "refuses it (status 403)")


def test_a_checkpoint_in_the_cache_is_used_where_the_hub_shows_it_no_longer(hub, run):
    told = f"error: {run(*sample(KEPT)).stderr.partition('error: ')[2]}"
    assert "snapshots" in told
    hub.answers = {f"/{KEPT}/": (403, {})}
    said = f"{KEPT}: {hub.url} answers with status 403; what is in the cache is used, commit {COMMIT}."
    assert run(*sample(KEPT)).stderr == f"{said}\n{told}"


def test_a_warning_of_the_client_is_seen_once_and_its_tries_are_not(hub, run):
    hub.answers = {f"/api/datasets/{UNSEEN}/revision/": (403, {"X-HF-Warning": "tokens; This token ends tomorrow."})}
    warned = run(*prepare(UNSEEN))
    assert lines(warned)[0] == "This token ends tomorrow." and warned.stderr.count("tomorrow") == 1
    # The client tries again.
    hub.answers, hub.once = {}, {f"/api/datasets/{OTHERS}/tree/": (503, {})}
    done = run(*prepare(OTHERS, "--subset=cats"))
    assert sum(f"{OTHERS}/tree/" in path for _, path, _ in hub.requests) == 2
    assert done.returncode == 0 and "503" not in done.stderr and "try" not in done.stderr.lower(), done.stderr
