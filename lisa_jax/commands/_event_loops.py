"""Event loops that end when their tasks have ended."""

import asyncio


class _PatientLoop(asyncio.SelectorEventLoop):
    """Closed only when nothing is under way in it any more.

    Orbax reads and writes many arrays at once, each in a task, and closes the loop at the first error. The threads of
    TensorStore that work for the others would then find it closed, and each print a traceback.
    """

    def close(self) -> None:
        if not self.is_closed() and (pending := asyncio.all_tasks(self)):
            self.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        super().close()


class PatientLoops(asyncio.DefaultEventLoopPolicy):
    """For `asyncio.set_event_loop_policy`."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _PatientLoop()
