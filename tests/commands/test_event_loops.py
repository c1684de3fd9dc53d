import asyncio
import threading

import pytest

from lisa_jax.commands._event_loops import PatientLoops


def test_a_loop_is_closed_only_when_others_no_longer_report_to_it():
    """As Orbax runs many writes and leaves at the first error, while TensorStore's threads are still at work."""
    errors = []

    def report(loop, future):
        try:
            loop.call_soon_threadsafe(future.set_result, None)
        except RuntimeError as error:
            errors.append(error)

    async def slow():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        threading.Timer(0.1, report, (loop, future)).start()
        await future

    async def fails():
        raise ValueError("No space left on device")

    async def both():
        await asyncio.gather(slow(), fails())

    loop = PatientLoops().new_event_loop()
    with pytest.raises(ValueError, match="No space left"):
        loop.run_until_complete(both())
    loop.close()
    assert loop.is_closed() and not errors
