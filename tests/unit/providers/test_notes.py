"""What of a request an upstream does not get, in the door's words."""

from model_service.providers.faults import CallFailed, Fault, FaultKind, unsupported
from model_service.providers.translation import Notes

SPELLING = {"messages": "contents"}


def test_what_an_upstream_refuses_by_itself_is_named_as_the_door_names_it() -> None:
    fault = Notes(SPELLING).spelled(unsupported("messages", "files are no good")).fault
    assert (fault.param, fault.message) == ("contents", "contents: files are no good")
    assert (fault.kind, fault.code) == (FaultKind.UNSUPPORTED, "unsupported")


def test_a_name_that_the_door_shares_stays() -> None:
    failed = unsupported("tools", "no such schema")
    assert Notes(SPELLING).spelled(failed) is failed


def test_a_fault_of_no_field_stays() -> None:
    failed = CallFailed(Fault(FaultKind.UPSTREAM, "messages: the provider failed"))
    assert Notes(SPELLING).spelled(failed) is failed


def test_what_is_dropped_many_times_is_listed_once() -> None:
    notes = Notes(SPELLING, lenient=True)
    for _ in range(1000):
        notes.refuse("messages", "files are no good")
        notes.drop("tools")
    assert notes.dropped == ["contents", "tools"]
