# Fetches jars from Maven Central through mvn, and remembers them under target/maven.
#
# To be sourced. Without mvn, or without a network and a copy from before, its functions fail and say why on stderr.

# maven_ready: mvn is there or can be installed.
maven_ready() {
    # shellcheck source=/dev/null
    declare -F need_command > /dev/null || . "$(dirname "${BASH_SOURCE[0]}")/install.sh"
    need_command mvn maven
}

# maven_newest GROUP ARTIFACT: prints the highest version there is. Asks at most once a day; when asking fails, what was
# found last time is good enough.
maven_newest() {
    local known
    known="$(maven_cache)/$1.$2.newest"
    if [ -z "$(find "$known" -mmin -1440 2> /dev/null)" ] && ! maven_ask "$1" "$2" "$known"; then
        [ -s "$known" ] || return 1
        echo "the newest $2 cannot be asked for; going by the last answer" >&2
    fi
    cat "$known"
}

# maven_jar GROUP ARTIFACT VERSION DIR: puts ARTIFACT-VERSION.jar into DIR, without what it depends on.
maven_jar() {
    local jar="$4/$2-$3.jar"
    [ -s "$jar" ] && return 0
    mkdir -p "$4" && maven_ready || return 1
    timeout 300 mvn -q -B dependency:copy "-Dartifact=$1:$2:$3" "-DoutputDirectory=$4" >&2 && [ -s "$jar" ]
}

# maven_ask GROUP ARTIFACT FILE: writes the highest version into FILE. Only the resolver knows how to compare versions, so
# it is given a project that wants any.
maven_ask() {
    local project
    project=$(mktemp -d) && maven_ready || return 1
    cat > "$project/pom.xml" << END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringmill</groupId><artifactId>newest</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>[0,)</version></dependency>
  </dependencies>
</project>
END
    timeout 300 mvn -q -B -f "$project/pom.xml" dependency:list -DexcludeTransitive "-DoutputFile=$project/list" >&2 &&
        sed -nE "s/.*$2:jar:([^:]+):.*/\1/p" "$project/list" > "$project/newest"
    [ -s "$project/newest" ] && mkdir -p "$(dirname "$3")" && mv "$project/newest" "$3"
    local status=$?
    rm -rf "$project"
    return $status
}

maven_cache() {
    echo "$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/maven"
}
