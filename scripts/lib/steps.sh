# Runs named steps one after the other, times them, counts what passed, failed or was skipped, and sums up.
#
# To be sourced. A step is a function or a command: exit code 0 is passed, 77 skipped (its last line says why), anything
# else failed. Its output goes to target/test-logs/NAME.log; of a failed step the end is shown.

passed_count=0 failed_count=0 skipped_count=0
step_log_dir=
skipped_lines=() failed_lines=()

# steps_begin DIR: where the logs go.
steps_begin() {
    step_log_dir="$1"
    mkdir -p "$step_log_dir"
    steps_start_s=$SECONDS
}

# step NAME COMMAND...: runs it; never ends the script, so that one failure does not hide the next.
step() {
    local name="$1" log="$step_log_dir/${1// /-}.log" start_s=$SECONDS code=0
    shift
    printf '%-34s ' "$name"
    ("$@") >"$log" 2>&1 </dev/null || code=$?
    case $code in
        0) step_passed "$name" "$log" ;;
        77) step_skipped "$name" "$log" ;;
        *) step_failed "$name" "$log" "$code" ;;
    esac
    printf ' %5d s\n' $((SECONDS - start_s))
    [ $code != 0 ] && [ $code != 77 ] && excerpt "$log" | sed 's/^/    | /'
    return 0
}

# What a reader wants of a failed step's log: what failed, wherever it stands, and how it ended.
excerpt() {
    grep -E '^test .* FAILED$|^error|panicked at|^FAILED' "$1" | head -n 20
    echo '...'
    tail -n 15 "$1"
}

step_passed() {
    local tests
    tests=$(tests_in passed "$2")
    # A step that ran Rust tests counts as many as it ran, any other as one.
    if [ "$tests" = 0 ]; then
        passed_count=$((passed_count + 1))
        printf 'passed             '
    else
        passed_count=$((passed_count + tests))
        printf 'passed %5d tests ' "$tests"
    fi
}

step_failed() {
    local tests
    tests=$(tests_in failed "$2")
    failed_count=$((failed_count + (tests > 0 ? tests : 1)))
    passed_count=$((passed_count + $(tests_in passed "$2")))
    failed_lines+=("$1: exit code $3, see $2")
    printf 'FAILED             '
}

step_skipped() {
    skipped_count=$((skipped_count + 1))
    skipped_lines+=("$1: $(tail -n 1 "$2")")
    printf 'SKIPPED            '
}

# How many tests `cargo test` reported as passed or failed in a log.
tests_in() {
    sed -nE "s/^test result:.* ([0-9]+) $1;.*/\1/p" "$2" | awk '{ sum += $1 } END { print sum + 0 }'
}

# Prints the summary; its last line is for machines. Fails if anything failed.
steps_end() {
    local line
    printf '\ntotal %d s, logs in %s\n' $((SECONDS - steps_start_s)) "$step_log_dir"
    for line in "${skipped_lines[@]}"; do echo "skipped  $line"; done
    for line in "${failed_lines[@]}"; do echo "failed   $line"; done
    echo "$passed_count passed, $failed_count failed, $skipped_count skipped"
    [ $failed_count = 0 ]
}
