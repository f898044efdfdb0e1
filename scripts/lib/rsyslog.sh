# Starts and stops rsyslog with omkafka as a shipper of one file. Sourced, after broker.sh, by scripts/demo and scripts/interop.
# The process is its caller's own: the system's rsyslog, if one runs, is left alone.

RSYSLOGD=$(command -v rsyslogd || echo /usr/sbin/rsyslogd)

rsyslog_is_there() {
    [ -x "$RSYSLOGD" ] && ls /usr/lib/*/rsyslog/omkafka.so > /dev/null 2>&1
}

rsyslog_version() {
    "$RSYSLOGD" -v | sed -nE '1s/^rsyslogd +([0-9][0-9.]*).*/\1/p'
}

# rsyslog_action TOPIC SETTINGS: one omkafka action, with librdkafka's SETTINGS ("name=value", ...) beside those that every
# careful user sets.
rsyslog_action() {
    cat <<CONF
    action(type="omkafka" broker=["$address"] topic="$1" template="line" partitions.auto="on"
           resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="$work/rsyslog/$1.failed"
           action.resumeRetryCount="-1" action.resumeInterval="1"
           confParam=["request.required.acks=-1", "linger.ms=20", "reconnect.backoff.max.ms=500", $2])
CONF
}

# rsyslog_start FILE ACTIONS: follows FILE and hands every line to the actions. imfile passes over empty lines.
rsyslog_start() {
    rsyslog_launch <<CONF
global(workDirectory="$work/rsyslog" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="$1" tag="ship" ruleset="ship")
ruleset(name="ship") {
$2
}
CONF
}

# rsyslog_launch: runs it by the configuration on standard input.
rsyslog_launch() {
    mkdir -p "$work/rsyslog"
    cat > "$work/rsyslog.conf"
    "$RSYSLOGD" -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" > "$work/rsyslog.log" 2>&1 &
    shipper_pid=$!
}
