# The fixed loads of scripts/perf and scripts/figures: what is typed behind `ringmill-bench` for each. Sourced; needs $binaries, $bytes,
# $duration where loads by the clock are asked for, and what broker.sh sets. `1x5`: one connection, five requests in flight. Records of 1 KB in batches of 1000 unless the name says otherwise.

declare -A load_of=(
    [produce-1x1-synced]='produce --connections 1 --in-flight 1'
    [produce-4x1-synced]='produce --connections 4 --in-flight 1'
    [produce-1x5-synced]='produce --connections 1 --in-flight 5'
    [produce-4x5-synced]='produce --connections 4 --in-flight 5'
    [produce-1x5-synced-20GB]='produce --connections 1 --in-flight 5 --bytes 20GB'
    [produce-1x5-cached]='produce --connections 1 --in-flight 5 --write-caching'
    [produce-4x5-cached]='produce --connections 4 --in-flight 5 --write-caching'
    [produce-1x5-cached-100B]='produce --connections 1 --in-flight 5 --write-caching --record-bytes 100B'
    [produce-4x5-cached-100B]='produce --connections 4 --in-flight 5 --write-caching --record-bytes 100B'
    [consume-1]='consume --connections 1'
    [consume-4]='consume --connections 4'
    [mixed-4-cached]='mixed --connections 4 --write-caching'
    [mixed-4-1GB-cached]='mixed --connections 4 --rate 1GB --write-caching'
    [paced-cached]='produce --connections 1 --rate 50MB --batch-records 100 --write-caching'
    [paced-synced]='produce --connections 1 --rate 50MB --batch-records 100'
)

# bench LOAD [OPTION]...: runs it on the broker, on a topic of its own, with $bytes to move, or for $duration where the clock rules.
bench() {
    local arguments
    read -ra arguments <<< "${load_of[$1]}"
    case "$1" in
        consume-*) ;;
        produce-*-20GB) arguments+=(--fresh) ;;
        mixed-* | paced-*) arguments+=(--fresh --duration "$duration") ;;
        *) arguments+=(--fresh --bytes "$bytes") ;;
    esac
    "$binaries/ringmill-bench" "${arguments[@]}" --broker "$address" --topic fixed "${@:2}" 2> "$work/load.log" ||
        fail "$1: $(tail -n 3 "$work/load.log")"
}
