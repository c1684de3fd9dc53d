"""Models, families and experiments that compile in no time, said once for all tests."""
