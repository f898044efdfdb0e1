"""Says what of a group's history must not have happened. Pure: a history in, faults in words out; called by `steps`.

Every record is processed, no commit passes over one that nobody has processed, commits never go back and are never lost, nobody
commits what another has been given since, and in the end each partition has exactly one owner, who has committed all of it.
"""

import bisect

# How far apart the stamps of two processes may be: some clients know milliseconds only.
CLOCK_SLACK_MS = 5
# So many of a kind are told; the rest is a number.
TOLD_MAX = 3


def judge(history):
    """All faults, each a sentence; none for a history that is as it must be."""
    commits = history.commits()
    gains = gained(history)
    kinds = [wrong(history), unprocessed(history), skipped(history, commits), views_back(history), views_unasked(history, commits),
             lost(history, commits), commits_back(commits), stale(commits, gains), begun_early(history, commits, gains), final(history)]
    return [fault for faults in kinds for fault in shortened(faults)]


def shortened(faults):
    """The first few, and how many more there are."""
    more = len(faults) - TOLD_MAX
    return faults[:TOLD_MAX] + ([f"… and {more} more of these"] if more > 0 else [])


def gained(history):
    """When each member was given partitions that it had not: (time, member), by partition."""
    gains, owned = {}, {}
    for event in sorted((event for event in history.events if event["e"] == "owned"), key=lambda event: event["t"]):
        has = set(event["partitions"])
        for partition in has - owned.get(event["member"], set()):
            gains.setdefault(partition, []).append((event["t"], event["member"]))
        owned[event["member"]] = has
    return gains


def wrong(history):
    return [f"{event['member']} read at {event['p']}:{event['offset']} what was not written there: {event['value']!r}"
            for event in history.events if event["e"] == "wrong"]


def processed(history):
    """What was read of each partition: (time, from, to) by time."""
    reads = {}
    for event in history.events:
        if event["e"] == "read":
            reads.setdefault(event["p"], []).append((event["t"], event["from"], event["to"]))
    return {partition: sorted(ranges, key=lambda read: read[0]) for partition, ranges in reads.items()}


class Prefix:
    """Up to where everything of a partition has been read, as time goes by."""

    def __init__(self, reads):
        self._times, self._ends = [], []
        end, waiting = 0, []
        for time, first, after in reads:
            waiting.append((first, after))
            # What was read out of order counts once the gap before it is closed.
            while reaching := [read for read in waiting if read[0] <= end]:
                waiting = [read for read in waiting if read[0] > end]
                end = max(end, *(read[1] for read in reaching))
            self._times.append(time)
            self._ends.append(end)

    def at(self, time):
        """The first offset that was not read by then."""
        index = bisect.bisect_right(self._times, time)
        return self._ends[index - 1] if index else 0


def unprocessed(history):
    """Each record up to the end has been read by somebody."""
    reads = processed(history)
    ends = {partition: Prefix(reads.get(partition, [])).at(float("inf")) for partition in history.ends}
    return [f"record {partition}:{ends[partition]} was never processed, the log ends at {end}"
            for partition, end in sorted(history.ends.items()) if ends[partition] < end]


def skipped(history, commits):
    """What is committed has been read, by whomever: neither a member nor the broker passes over a record."""
    prefixes = {partition: Prefix(reads) for partition, reads in processed(history).items()}

    def missing(partition, offset, time):
        reached = prefixes[partition].at(time + CLOCK_SLACK_MS) if partition in prefixes else 0
        return reached if reached < offset else None

    faults = [f"{commit.member} committed {partition}:{offset}, but {partition}:{reached} was not processed by then"
              for commit in commits if commit.accepted is not False for partition, offset in sorted(commit.offsets.items())
              if (reached := missing(partition, offset, commit.began)) is not None]
    return faults + [f"{partition}:{offset} was seen as committed, but {partition}:{reached} was not processed by then"
                     for view in history.views for partition, offset in sorted(view.offsets.items())
                     if (reached := missing(partition, offset, view.ended)) is not None]


def views_back(history):
    """From outside, committed offsets only grow."""
    faults, before = [], {}
    for view in sorted(history.views, key=lambda view: view.began):
        faults += [f"the committed offset of partition {partition} went back from {offset} to {view.offsets.get(partition, 'none')}"
                   for partition, offset in sorted(before.items()) if view.offsets.get(partition, -1) < offset]
        before = dict(view.offsets)
    return faults


def views_unasked(history, commits):
    """What is seen as committed, somebody has asked to commit."""
    asked = {}
    for commit in commits:
        for partition, offset in commit.offsets.items():
            key = (partition, offset)
            asked[key] = min(asked.get(key, commit.began), commit.began)
    return [f"{partition}:{offset} was seen as committed, and nobody had asked for it" for view in history.views
            for partition, offset in sorted(view.offsets.items())
            if asked.get((partition, offset), float("inf")) > view.ended + CLOCK_SLACK_MS]


def lost(history, commits):
    """A commit that was accepted is seen by whoever asks afterwards, whatever became of the broker in between."""
    faults = []
    for view in history.views:
        for commit in commits:
            if commit.accepted and commit.ended + CLOCK_SLACK_MS < view.began:
                faults += [f"{commit.member}'s commit of {partition}:{offset} was accepted, and later {view.offsets.get(partition, 'none')} was seen"
                           for partition, offset in sorted(commit.offsets.items()) if view.offsets.get(partition, -1) < offset]
    return faults


def commits_back(commits):
    """Of two accepted commits, one begun after the other was answered is not the lower."""
    faults, answered = [], {}
    for commit in sorted((commit for commit in commits if commit.accepted), key=lambda commit: commit.began):
        for partition, offset in sorted(commit.offsets.items()):
            known = answered.setdefault(partition, [])
            faults += [f"{commit.member}'s commit of {partition}:{offset} was accepted after {other.member}'s of {partition}:{highest}"
                       for other, highest in known[-1:] if highest > offset and other.ended + CLOCK_SLACK_MS < commit.began]
            if not known or offset >= known[-1][1]:
                known.append((commit, offset))
    return faults


def stale(commits, gains):
    """A commit is not accepted from a member after another has been given the partition: its generation is over."""
    faults = []
    for commit in (commit for commit in commits if commit.accepted):
        for partition in sorted(commit.offsets):
            before = [gain for gain in gains.get(partition, []) if gain[0] + CLOCK_SLACK_MS < commit.began]
            if before and before[-1][1] != commit.member and not regained(gains[partition], commit):
                faults.append(f"{commit.member}'s commit of partition {partition} was accepted after {before[-1][1]} had been given it")
    return faults


def regained(gains, commit):
    """Whether the member was given it in the moment before the commit, too close to tell what came first."""
    return any(member == commit.member and commit.began - CLOCK_SLACK_MS <= time <= commit.began for time, member in gains)


def begun_early(history, commits, gains):
    """Who is given a partition does not begin before the committed offset."""
    faults = []
    for partition, given in gains.items():
        accepted = sorted((commit.ended, commit.offsets[partition]) for commit in commits
                          if commit.accepted and partition in commit.offsets)
        for time, member in given:
            first = next((event["from"] for event in history.events
                          if event["e"] == "read" and event["member"] == member and event["p"] == partition and event["t"] >= time), None)
            committed = max((offset for ended, offset in accepted if ended + CLOCK_SLACK_MS < time), default=0)
            if first is not None and first < committed:
                faults.append(f"{member} was given partition {partition} and began at {first}, though {committed} was committed")
    return faults


def final(history):
    """Every partition has one owner among those who live, by their own word and the broker's, and all of it is committed."""
    faults = []
    for partition in range(history.partitions):
        owners = [member for member in history.live if partition in history.owned(member)]
        if len(owners) != 1:
            faults.append(f"partition {partition} is owned by {' and '.join(owners) or 'nobody'} in the end")
        told = [member for member, partitions in sorted(history.described.items()) if partition in partitions]
        if told != owners:
            faults.append(f"the broker says that partition {partition} belongs to {' and '.join(told) or 'nobody'}, not to {' and '.join(owners)}")
    committed = history.views[-1].offsets if history.views else {}
    return faults + [f"partition {partition} ends at {end}, and {committed.get(partition, 'none')} is committed in the end"
                     for partition, end in sorted(history.ends.items()) if committed.get(partition) != end]
