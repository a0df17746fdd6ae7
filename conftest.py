"""Assertions say what they compared, also those in the modules that tests share."""

import pytest

pytest.register_assert_rewrite("integration_tests", "tests")
