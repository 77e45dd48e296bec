"""The names of a deployment's keys and channels."""

from typing import Any

import pytest

from protocol.errors import InvalidSettings
from protocol.namespace import COMMANDS, Namespace


def test_all_names_begin_with_the_namespace() -> None:
    names = Namespace("staging")
    assert names.owner("talk") == "troupe:staging:owner:talk"
    assert names.worker("ada") == "troupe:staging:worker:ada"
    assert names.requests("ada") == "troupe:staging:requests:ada"
    assert names.replies("ada") == "troupe:staging:replies:ada"
    assert names.workers == "troupe:staging:workers"
    assert names.run == "troupe:staging:run"
    assert repr(names) == "Namespace('staging')"
    assert Namespace().owner("talk") == "troupe:default:owner:talk"


def test_a_user_of_redis_needs_these_keys_channels_and_commands() -> None:
    rules = Namespace("staging").access_rules
    assert rules[:5] == ("resetkeys", "~troupe:staging:*", "resetchannels", "&troupe:staging:*", "-@all")
    assert rules[5:] == tuple(f"+{command}" for command in COMMANDS)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a*", "é", "a\n", "a" * 65, 5, None, b"a"])
def test_a_name_that_would_need_quoting_is_refused(name: Any) -> None:
    with pytest.raises(InvalidSettings, match="namespace cannot be used: give 1 to 64 letters"):
        Namespace(name)
    assert Namespace("a-B_9" + "a" * 59).name.endswith("aaa")
