"""Cron expressions, schedule files, and what is due."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from orch.errors import InvalidInput, ScheduleError
from orch.job import JobStatus
from orch.schedule import (
    Misfire,
    Schedule,
    catch_up_s,
    check_schedules,
    due,
    load_schedules,
    parse_cron,
    parse_schedules,
    schedule_of,
    upcoming,
)

LONDON = ZoneInfo("Europe/London")
GOOD = '- id: nightly\n  cron: "0 2 * * *"\n  dag: etl.yaml\n'


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires_on(expr, day, zone=UTC):
    """The UTC times of the ticks of a day in a zone."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    schedule = Schedule("s", expr, "d.yaml", timezone=getattr(zone, "key", "UTC"))
    ticks = upcoming(schedule, midnight - timedelta(minutes=1))
    end = (midnight + timedelta(days=1)).astimezone(UTC)  # wall arithmetic, so that a day is what the clock calls one
    return [f"{tick:%H:%M}" for tick in islice(ticks, 1500) if tick < end]


# -- cron -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    ("expr", "yes", "no"),
    [
        ("* * * * *", "2025-10-03T10:17", None),
        ("*/5 * * * *", "2025-10-03T10:15", "2025-10-03T10:16"),
        ("30 9 * * *", "2025-10-03T09:30", "2025-10-03T09:31"),
        ("0 */2 * * *", "2025-10-03T04:00", "2025-10-03T05:00"),
        ("0,30 8-10 * * *", "2025-10-03T10:30", "2025-10-03T11:00"),
        ("0 9 * * mon-FRI", "2025-10-03T09:00", "2025-10-04T09:00"),
        ("0 0 * * 0", "2025-10-05T00:00", "2025-10-06T00:00"),
        ("0 0 * * 7", "2025-10-05T00:00", "2025-10-06T00:00"),
        ("0 0 1 JAN *", "2026-01-01T00:00", "2026-02-01T00:00"),
        ("5/20 * * * *", "2025-10-03T10:45", "2025-10-03T10:40"),
        ("0 0 13 * FRI", "2025-10-03T00:00", "2025-10-04T00:00"),  # any Friday
        ("0 0 13 * FRI", "2025-10-13T00:00", "2025-10-14T00:00"),  # or any 13th
        ("0 0 */2 * FRI", "2025-10-03T00:00", "2025-10-10T00:00"),  # a star: Fridays on odd days only
        ("0 0 L * *", "2024-02-29T00:00", "2024-02-28T00:00"),
        ("0 0 * * 5L", "2025-10-31T00:00", "2025-10-24T00:00"),
        ("@hourly", "2025-10-03T10:00", "2025-10-03T10:01"),
        ("@Weekly", "2025-10-05T00:00", "2025-10-06T00:00"),
    ],
)
def test_an_expression_matches_the_minutes_it_names(expr, yes, no):
    matches = parse_cron(expr)
    assert matches(datetime.fromisoformat(yes))
    assert no is None or not matches(datetime.fromisoformat(no))


@pytest.mark.promise("S3")
def test_every_other_hour_fires_twelve_times_a_day():
    assert len(fires_on("0 */2 * * *", "2025-10-03")) == 12


@pytest.mark.parametrize("expr", ["* * * *", "0 0 * * * *", "", "   ", "hello"])
def test_a_wrong_number_of_fields_is_refused_in_the_words_of_the_seed(expr):
    with pytest.raises(ValueError) as caught:
        parse_cron(expr)
    assert str(caught.value) == f"Invalid cron expression: {expr} (expected 5 fields)"


@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    ("expr", "field"),
    [
        ("61 * * * *", "minute"),
        ("0 25 * * *", "hour"),
        ("0 0 0 * *", "day-of-month"),
        ("0 0 * 13 *", "month"),
        ("0 0 * JUNE *", "month"),
        ("0 0 * * 8", "day-of-week"),
        ("*/0 * * * *", "minute"),
        ("*/-5 * * * *", "minute"),
        ("+5 * * * *", "minute"),
        ("1_0 * * * *", "minute"),
        ("\u0665 * * * *", "minute"),
        ("0 0 * * \u017fun", "day-of-week"),  # upper-cased, its first letter is an S
        ("? * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("5- * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("*/5/5 * * * *", "minute"),
        ("*5 * * * *", "minute"),
        ("5-5/10 * * * *", "minute"),
        ("0 0 L/2 * *", "day-of-month"),
        ("0 0 * * MON#6", "day-of-week"),
        ("0 0 * * L", "day-of-week"),
        ("0 0 31 2 *", "day-of-month"),
        ("0 0 30,31 FEB *", "day-of-month"),
        ("0 0 LW * */7", "day-of-month"),
        (f"{'9' * 50} * * * *", "minute"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused_by_its_field(expr, field):
    with pytest.raises(InvalidInput, match=f"\\({field} ") as caught:
        parse_cron(expr)
    assert expr in str(caught.value)


@pytest.mark.parametrize("expr", [None, 5, b"* * * * *", "*\0 * * * *", "* " * 200, "@reboot", "*\u00a0* * * *"])
def test_what_is_no_expression_at_all_is_refused(expr):
    with pytest.raises(InvalidInput):
        parse_cron(expr)


@pytest.mark.promise("S3")
def test_a_skipped_wall_time_fires_once_at_the_first_minute_after_the_gap():
    assert fires_on("30 1 * * *", "2026-03-29", LONDON) == ["01:00"]
    assert fires_on("0,15,30 1,2 * * *", "2026-03-29", LONDON) == ["01:00", "01:15", "01:30"]


@pytest.mark.promise("S3")
def test_a_repeated_wall_time_fires_the_first_time_only():
    assert fires_on("30 1 * * *", "2026-10-25", LONDON) == ["00:30"]


@pytest.mark.promise("S3")
def test_an_expression_of_every_hour_fires_in_every_real_hour():
    assert len(fires_on("30 * * * *", "2026-10-25", LONDON)) == 25
    assert len(fires_on("30 * * * *", "2026-03-29", LONDON)) == 23
    assert len(fires_on("*/20 1 * * *", "2026-10-25", LONDON)) == 6
    assert fires_on("*/20 1 * * *", "2026-03-29", LONDON) == []


@pytest.mark.promise("S3")
def test_a_gap_at_midnight_moves_the_tick_to_the_next_hour_of_the_same_day():
    assert fires_on("0 0 * * *", "2026-09-06", ZoneInfo("America/Santiago")) == ["04:00"]


def test_a_time_with_a_zone_follows_the_rule_and_one_without_is_a_plain_wall_time():
    half_past_one = parse_cron("30 1 * * *")
    assert half_past_one(datetime.fromisoformat("2026-10-25T01:30"))
    assert half_past_one(datetime(2026, 10, 25, 1, 30, tzinfo=LONDON))
    assert not half_past_one(datetime(2026, 10, 25, 1, 30, tzinfo=LONDON, fold=1))
    assert half_past_one(datetime(2026, 3, 29, 2, 0, tzinfo=LONDON))


# -- what is due ----------------------------------------------------------------------------------------------------


def five_minutely(**given):
    return Schedule("s", "*/5 * * * *", "d.yaml", **given)


NOW = at("2026-11-24T12:02:30")


def due_after(last, now=NOW, **given):
    return [f"{tick:%H:%M}" for tick in due(five_minutely(**given), None if last is None else at(last), now)]


@pytest.mark.promise("S2")
@pytest.mark.parametrize(
    ("misfire", "ticks"), [("skip", []), ("once", ["12:00"]), ("all", ["11:45", "11:50", "11:55", "12:00"])]
)
def test_after_a_pause_the_misfire_policy_says_which_ticks_count(misfire, ticks):
    assert due_after("2026-11-24T11:40", misfire=misfire) == ticks


@pytest.mark.promise("S2")
@pytest.mark.parametrize(
    ("misfire", "ticks"), [("skip", ["12:00"]), ("once", ["11:55", "12:00"]), ("all", ["11:50", "11:55", "12:00"])]
)
def test_the_tick_of_the_current_minute_counts_besides_the_missed_ones(misfire, ticks):
    assert due_after("2026-11-24T11:45", at("2026-11-24T12:00:59"), misfire=misfire) == ticks


@pytest.mark.promise("S2")
def test_ticks_older_than_the_grace_count_for_nothing_to_the_second():
    assert due_after("2026-11-24T10:00", misfire="all", misfire_grace_s=450) == ["11:55", "12:00"]
    assert due_after("2026-11-24T10:00", misfire="all", misfire_grace_s=449.9) == ["12:00"]
    assert due_after("2026-11-24T10:00", misfire="once", misfire_grace_s=0) == []


@pytest.mark.promise("S2")
def test_at_most_a_thousand_ticks_are_caught_up_the_newest():
    schedule = Schedule("s", "* * * * *", "d.yaml", misfire="all", misfire_grace_s=1e9)
    ticks = due(schedule, at("2020-01-01T00:00"), at("2026-01-01T00:00"))
    assert len(ticks) == 1000
    assert ticks[-1] == at("2026-01-01T00:00")
    assert ticks[0] == at("2025-12-31T07:21")


@pytest.mark.promise("S2")
def test_a_new_schedule_starts_with_its_own_minute():
    assert due_after(None) == []
    assert due_after(None, at("2026-11-24T12:05:10"), misfire="all") == ["12:05"]


@pytest.mark.promise("S5")
@pytest.mark.parametrize("last", ["2026-11-24T12:05", "2026-11-24T12:05:09", "2026-11-24T12:06", "2027-01-01T00:00"])
def test_nothing_is_due_before_the_time_that_was_dealt_with(last):
    assert due_after(last, at("2026-11-24T12:05:10"), misfire="all") == []


def test_upcoming_ticks_come_one_by_one_without_an_end():
    schedule = Schedule("s", "30 1 * * *", "d.yaml", timezone="Europe/London")
    ticks = list(islice(upcoming(schedule, at("2026-03-28T12:00")), 3))
    assert ticks == [at("2026-03-29T01:00"), at("2026-03-30T00:30"), at("2026-03-31T00:30")]
    assert next(upcoming(Schedule("s", "0 0 29 2 *", "d"), at("2096-03-01T00:00"))) == at("2104-02-29T00:00")


@pytest.mark.promise("S1")
def test_the_id_of_a_job_names_schedule_and_tick_in_utc():
    tick = datetime(2026, 7, 1, 3, 0, tzinfo=LONDON)
    job = five_minutely(params={"a": [1]}, priority=7, timeout_s=5.0, tenant="acme", max_retries=2).job(tick, NOW)
    assert job.id == "s@2026-07-01T02:00Z"
    assert (job.dag_path, job.tenant_id, job.schedule_id, job.status) == ("d.yaml", "acme", "s", JobStatus.PENDING)
    assert (job.params, job.priority, job.timeout_s, job.max_retries) == ({"a": [1]}, 7, 5.0, 2)
    assert job.enqueued_at == "2026-11-24T12:02:30+00:00"


def test_the_key_of_a_cursor_changes_with_expression_and_zone_only():
    key = five_minutely().key
    assert five_minutely(tenant="x", misfire="all").key == key
    assert Schedule("s", " */5 *  * * * ", "e.yaml").key == key
    assert Schedule("s", "*/6 * * * *", "d.yaml").key != key
    assert five_minutely(timezone="Europe/London").key != key


@pytest.mark.promise("S1")
def test_finished_jobs_must_be_kept_for_the_longest_grace():
    assert catch_up_s([]) == 60
    assert catch_up_s([five_minutely(misfire_grace_s=5)]) == 60
    assert catch_up_s([five_minutely(), five_minutely(misfire_grace_s=7200)]) == 7200


# -- values and files -----------------------------------------------------------------------------------------------


@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "x" * 183),
        ("id", 750),
        ("cron", "* *"),
        ("dag", None),
        ("tenant", ""),
        ("enabled", "false"),
        ("enabled", None),
        ("enabled", 1),
        ("max_retries", "3"),
        ("max_retries", None),
        ("max_retries", -1),
        ("timezone", "Europe"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../etc/passwd"),
        ("params", [1]),
        ("params", {"a": float("nan")}),
        ("priority", 1001),
        ("timeout_s", 0),
        ("misfire", "never"),
        ("misfire", ["skip"]),
        ("misfire_grace_s", -1),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_name(field, value):
    with pytest.raises(InvalidInput, match="Invalid cron" if field == "cron" else field):
        Schedule(**{"id": "s", "cron": "* * * * *", "dag": "d", field: value})


def test_the_longest_id_of_a_schedule_still_makes_a_job():
    assert Schedule("x" * 182, "* * * * *", "d").job(NOW, NOW).id.startswith("xxx")


def test_a_row_is_what_a_schedule_was_made_of():
    row = {"id": "s", "cron": "@daily", "dag": "d", "misfire": "all"}
    schedule = schedule_of(row)
    assert schedule.row().items() >= row.items()
    assert schedule_of(schedule.row()) == schedule
    assert schedule_of(schedule) is schedule


def test_a_faulty_row_is_refused_with_every_fault():
    with pytest.raises(ScheduleError) as caught:
        schedule_of({"id": 5, "cron": "61 * * * *", "retries": 3})
    for part in ("dag: missing", "id must be text", "minute '61'", "unknown key 'retries'"):
        assert part in str(caught.value)
    for row in ("x", None, 5, [1]):
        with pytest.raises(ScheduleError, match="a schedule must be a mapping"):
            schedule_of(row)


def test_a_file_holds_one_schedule_or_a_list_of_them(tmp_path):
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "a.yaml").write_text('id: one\ncron: "@daily"\ndag: one.yaml\n')
    (tmp_path / "notes.txt").write_text("nothing")
    schedules, faults = check_schedules(tmp_path)
    assert [(s.id, s.file, s.line) for s in schedules] == [
        ("one", str(tmp_path / "a.yaml"), 1),
        ("nightly", str(tmp_path / "b.yaml"), 1),
    ]
    assert faults == []


@pytest.mark.promise("S3", "S4")
def test_every_fault_of_a_file_is_told_at_once_with_line_and_key():
    schedules, faults = parse_schedules(
        GOOD + "- id: no\n  cron: '61 * * * *'\n  enabled: \"false\"\n  max_retries:\n  retry: 3\n- 5\n", "s.yaml"
    )
    assert [schedule.id for schedule in schedules] == ["nightly"]
    assert [(fault.line, fault.key) for fault in faults] == [
        (4, "[1].dag"),
        (4, "[1].id"),
        (5, "[1].cron"),
        (6, "[1].enabled"),
        (7, "[1].max_retries"),
        (8, "[1].retry"),
        (9, "[2]"),
    ]
    assert str(faults[2]).startswith("s.yaml:5:9 [1].cron: Invalid cron expression: 61 * * * * (minute '61': ")


@pytest.mark.promise("S3")
@pytest.mark.parametrize("id", ["no", "12:30", "2026-11-24", "750", "1.5", "", "~", "[a]"])
def test_an_id_that_yaml_reads_as_something_else_is_refused_and_told_to_be_quoted(id):
    schedules, faults = parse_schedules(f"id: {id}\ncron: '@daily'\ndag: d\n")
    assert schedules == []
    assert [(fault.line, fault.key) for fault in faults] == [(1, "id")]
    assert faults[0].message.startswith("expected text, got ")


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    "bad",
    [
        b"- id: x\n  cron: * * * * *\n  dag: d\n",
        b"\xff\xfe\x00",
        b"",
        b"{",
        b"just text",
        b"id: a\nid: b\ncron: '@daily'\ndag: d\n",
        b"a: &a [*a]\n",
        b"[" * 5000,
        b"x" * (1024 * 1024 + 1),
    ],
    ids=["alias", "encoding", "empty", "torn", "text", "duplicate", "endless", "deep", "huge"],
)
def test_a_bad_file_costs_only_itself(tmp_path, bad, capsys):
    (tmp_path / "a.yaml").write_bytes(bad)
    (tmp_path / "b.yaml").write_text(GOOD)
    assert [row["id"] for row in load_schedules(tmp_path)] == ["nightly"]
    assert capsys.readouterr().out.startswith(f"Warning: Failed to load {tmp_path / 'a.yaml'}")


def test_an_unquoted_expression_gets_the_hint_that_it_needs_quotes():
    fault = parse_schedules("- id: x\n  cron: * * * * *\n  dag: d\n")[1][0]
    assert fault.line == 2
    assert "needs quotes" in fault.message


@pytest.mark.promise("S4")
def test_a_repeated_id_costs_the_later_row(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("\n" + GOOD)
    schedules, faults = check_schedules(tmp_path)
    assert [schedule.file for schedule in schedules] == [str(tmp_path / "a.yaml")]
    assert [str(fault) for fault in faults] == [
        f"{tmp_path / 'b.yaml'}:2:1 id: id 'nightly' is taken by {tmp_path / 'a.yaml'}:1"
    ]


def test_a_file_of_another_ending_is_told_of_and_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.yaml").mkdir()
    schedules, faults = check_schedules(tmp_path)
    assert schedules == []
    assert ["ends in .yaml" in faults[0].message, "no regular file" in faults[1].message] == [True, True]


def test_a_folder_that_is_not_there_has_no_schedules(tmp_path):
    assert load_schedules(tmp_path / "nowhere") == []
    with pytest.raises(ScheduleError, match="nowhere"):
        check_schedules(tmp_path / "nowhere")


def test_rows_carry_every_key_with_its_default(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    assert load_schedules(tmp_path) == [
        {
            "id": "nightly",
            "cron": "0 2 * * *",
            "dag": "etl.yaml",
            "tenant": "local-dev",
            "enabled": True,
            "max_retries": 0,
            "timezone": "UTC",
            "params": {},
            "priority": 0,
            "timeout_s": None,
            "misfire": Misfire.ONCE,
            "misfire_grace_s": 3600.0,
        }
    ]


def test_a_file_may_share_values_by_aliases_and_merges():
    text = "- &base {id: a, cron: '@daily', dag: d.yaml, tenant: acme}\n- {<<: *base, id: b}\n"
    schedules, faults = parse_schedules(text)
    assert faults == []
    assert [(schedule.id, schedule.tenant) for schedule in schedules] == [("a", "acme"), ("b", "acme")]
