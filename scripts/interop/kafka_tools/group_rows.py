"""What Kafka's tools for groups are asked and what they must answer: one row a call, as in rows.py. Run by groups.py."""

from run import Row

TOPIC = [Row("topics", "--create --topic verified --partitions 4", [r"^Created topic verified\.$"])]


def without_group(protocol):
    """What there is to say of groups that are not there, and of one that is only offsets."""
    group = f"unborn-{protocol}"
    reset = f"--reset-offsets --group {group} --topic verified:1 --to-offset 3"
    return [
        Row("consumer-groups", "--list", hides=[rf"^{group}\b"]),
        Row("consumer-groups", f"--describe --group {group}", [r"GroupIdNotFoundException: \S"], stderr=".*GroupIdNotFoundException.*"),
        Row("consumer-groups", f"--delete --group {group}", [rf"Group '{group}' could not be deleted due to: .*GroupIdNotFoundException"]),
        Row("consumer-groups", f"{reset} --dry-run", [rf"^{group} +verified +1 +3 *$"]),
        Row("consumer-groups", "--list", hides=[rf"^{group}\b"]),
        # Offsets alone make a group.
        Row("consumer-groups", f"{reset} --execute", [rf"^{group} +verified +1 +3 *$"]),
        Row("consumer-groups", "--list --state", [r"^GROUP +STATE *$", rf"^{group} +Empty *$"]),
        Row("consumer-groups", f"--describe --group {group} --offsets", [rf"^{group} +verified +1 +3 +\d+ +\d+ +- +- +- *$"],
            stderr=f"Consumer group '{group}' has no active members."),
        Row("consumer-groups", f"--delete --group {group}", [rf"^Deletion of requested consumer groups \('{group}'\) was successful\.$"]),
        Row("consumer-groups", "--list", hides=[rf"^{group}\b"]),
    ]


# What rows call the log ends of the four partitions.
ENDS = ("end_a", "end_b", "end_c", "end_d")
MEMBER = r"\S+ +/127\.0\.0\.1 +\S+"


def watched(protocol):
    """While two consumers share the topic."""
    group = f"watched-{protocol}"
    group_type = {"classic": "Classic", "consumer": "Consumer"}[protocol]
    assignor = {"classic": "range", "consumer": "uniform"}[protocol]
    epoch = {"classic": "-", "consumer": r"\d+"}[protocol]
    return [
        Row("consumer-groups", "--list", [rf"^{group} *$"]),
        Row("consumer-groups", "--list --state", [rf"^{group} +Stable *$"]),
        Row("consumer-groups", "--list --state stable", [rf"^{group} +Stable *$"]),
        Row("consumer-groups", "--list --state empty", hides=[rf"^{group}\b"]),
        Row("consumer-groups", "--list --type", [rf"^{group} +{group_type} *$"]),
        Row("consumer-groups", f"--list --type {protocol}", [rf"^{group} +{group_type} *$"]),
        *[Row("consumer-groups", f"--list --type {other}", hides=[rf"^{group}\b"]) for other in ("classic", "consumer") if other != protocol],
        Row("consumer-groups", f"--describe --group {group}",
            [r"^GROUP +TOPIC +PARTITION +CURRENT-OFFSET +LOG-END-OFFSET +LAG +CONSUMER-ID +HOST +CLIENT-ID *$",
             *[rf"^{group} +verified +{partition} +(?P<{end}>\d+) +(?P={end}) +0 +{MEMBER} *$" for partition, end in enumerate(ENDS)]]),
        Row("consumer-groups", f"--describe --group {group} --members --verbose",
            [r"^GROUP +CONSUMER-ID +HOST +CLIENT-ID +#PARTITIONS +CURRENT-EPOCH +CURRENT-ASSIGNMENT +TARGET-EPOCH +TARGET-ASSIGNMENT *$",
             *[rf"^{group} +{MEMBER} +2 +{epoch} +verified:(\d,)?{partition}(,\d)? " for partition in range(4)]]),
        Row("consumer-groups", f"--describe --group {group} --members", [rf"(^{group} +{MEMBER} +2 *\n){{2}}"]),
        Row("consumer-groups", f"--describe --group {group} --state",
            [rf"^{group} +127\.0\.0\.1:\d+ +\(\d+\) +{assignor} +Stable +2 *$"]),
        Row("consumer-groups", f"--describe --group {group} --state --verbose",
            [rf"^{group} +127\.0\.0\.1:\d+ +\(\d+\) +{assignor} +Stable +{epoch} +{epoch} +2 *$"]),
        # Nobody pulls the offsets from under the feet of who reads.
        Row("consumer-groups", f"--reset-offsets --group {group} --topic verified --to-earliest --execute",
            [r"Assignments can only be reset if the group '[^']*' is inactive, but the current state is Stable\."], exit_code=0, stderr=".*"),
        Row("consumer-groups", f"--delete --group {group}", [rf"Group '{group}' could not be deleted due to: .*GroupNotEmptyException"]),
        Row("consumer-groups", f"--delete-offsets --group {group} --topic verified", [r"GroupSubscribedToTopicException|is subscribed"], stderr=".*"),
    ]


def resets(group):
    """Each way of choosing an offset: said without doing it, then done."""
    def shows(*offsets):
        return [rf"^{group} +verified +{partition} +{offset} *$" for partition, offset in enumerate(offsets)]

    def lags(*offsets):
        return Row("consumer-groups", f"--describe --group {group}",
                   [rf"^{group} +verified +{partition} +{offset} +{{{end}}} +\d+ +- +- +- *$" for partition, (offset, end) in enumerate(zip(offsets, ENDS))],
                   stderr=f"Consumer group '{group}' has no active members\\.")

    ends = [f"{{{end}}}" for end in ENDS]
    reset = f"--reset-offsets --group {group}"
    return [
        lags(*ends),
        Row("consumer-groups", f"{reset} --topic verified --to-earliest --dry-run", shows(0, 0, 0, 0)),
        lags(*ends),
        Row("consumer-groups", f"{reset} --topic verified --to-earliest --execute", shows(0, 0, 0, 0)),
        lags(0, 0, 0, 0),
        Row("consumer-groups", f"{reset} --topic verified:1,3 --to-offset 5 --execute", [rf"^{group} +verified +{partition} +5 *$" for partition in (1, 3)],
            hides=[rf"^{group} +verified +[02] "]),
        lags(0, 5, 0, 5),
        Row("consumer-groups", f"{reset} --all-topics --shift-by 2 --execute", shows(2, 7, 2, 7)),
        Row("consumer-groups", f"{reset} --topic verified --shift-by -3 --execute", shows(0, 4, 0, 4), stderr=".*lower than earliest.*"),
        lags(0, 4, 0, 4),
        Row("consumer-groups", f"{reset} --topic verified:2 --to-offset 1000000 --execute", [rf"^{group} +verified +2 +{{end_c}} *$"],
            stderr=".*higher than latest.*"),
        Row("consumer-groups", f"{reset} --topic verified --to-datetime 2020-01-01T00:00:00.000 --execute", shows(0, 0, 0, 0)),
        lags(0, 0, 0, 0),
        Row("consumer-groups", f"{reset} --topic verified --by-duration PT1H --dry-run", shows(0, 0, 0, 0)),
        # A time after all records is the end.
        Row("consumer-groups", f"{reset} --topic verified --to-datetime 2099-01-01T00:00:00.000 --execute", shows(*ends), stderr=".*"),
        lags(*ends),
        Row("consumer-groups", f"{reset} --topic verified --to-earliest --execute --export", [r"^verified,3,0$"]),
        Row("consumer-groups", f"{reset} --topic verified --to-latest --execute", shows(*ends)),
        Row("consumer-groups", f"{reset} --topic verified --to-current --dry-run", shows(*ends)),
        lags(*ends),
    ]


def alone(protocol):
    """When the consumers have left."""
    group = f"watched-{protocol}"
    return [
        Row("consumer-groups", "--list --state empty", [rf"^{group} +Empty *$"]),
        Row("consumer-groups", f"--describe --group {group} --state", [rf"^{group} +127\.0\.0\.1:\d+ +\(\d+\) +\S+ +Empty +0 *$"],
            stderr=f"Consumer group '{group}' has no active members\\."),
        *resets(group),
        # Who comes back begins where it was put.
        Row("consumer-groups", f"--reset-offsets --group {group} --all-topics --shift-by -3 --execute", [rf"^{group} +verified +0 +\d+ *$"]),
        Row("verifiable-consumer", f"--topic verified --group-id {group} --group-protocol {protocol} --max-messages 12 --reset-policy none",
            [r'"name":"partitions_assigned","partitions":\[(\{"topic":"verified","partition":\d\},?){4}\]', r'"name":"offsets_committed",.*"success":true',
             r'"name":"shutdown_complete"'], hides=[r'"minOffset":0,', r'"success":false']),
        Row("consumer-groups", f"--describe --group {group}", [rf"^{group} +verified +{partition} +(\d+) +\1 +0 +- +- +- *$" for partition in range(4)],
            stderr=f"Consumer group '{group}' has no active members\\."),
        Row("consumer-groups", f"--delete-offsets --group {group} --topic verified:0,2", [r"^verified +0 +Successful *$", r"^verified +2 +Successful *$"]),
        Row("consumer-groups", f"--describe --group {group}", [rf"^{group} +verified +1 ", rf"^{group} +verified +3 "], hides=[rf"^{group} +verified +[02] "],
            stderr=".*"),
        Row("consumer-groups", f"--delete-offsets --group {group} --topic nowhere", stderr=".*", exit_code=0),
        Row("consumer-groups", f"--delete --group {group}", [rf"^Deletion of requested consumer groups \('{group}'\) was successful\.$"]),
        Row("consumer-groups", "--list", hides=[rf"^{group}\b"]),
        Row("consumer-groups", f"--describe --group {group}", [r"GroupIdNotFoundException: \S"], stderr=".*GroupIdNotFoundException.*"),
    ]


def autocommit(protocol):
    """A consumer that commits by itself, when it is closed at the latest."""
    group = f"auto-{protocol}"
    return [
        Row("verifiable-consumer", f"--topic verified --group-id {group} --group-protocol {protocol} --max-messages 400 --reset-policy earliest "
            "--enable-autocommit --verbose",
            [r'"name":"record_data","key":"\d+","value":"\d+","topic":"verified","partition":\d,"offset":0\}', r'"name":"shutdown_complete"'],
            hides=[r'"name":"offsets_committed"']),
        Row("consumer-groups", f"--describe --group {group}", [rf"^{group} +verified +{partition} +(\d+) +\1 +0 +- +- +- *$" for partition in range(4)],
            stderr=".*no active members\\."),
        Row("consumer-groups", "--describe --all-groups --state", [rf"^{group} .* Empty +0 *$"], stderr=".*"),
        Row("consumer-groups", f"--delete --group {group}", [rf"^Deletion of requested consumer groups \('{group}'\) was successful\.$"]),
        Row("consumer-groups", "--validate-regex 'a.*'", [r"^The regular expression `a\.\*` is valid\.$"]),
    ]
