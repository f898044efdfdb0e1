# Starts an nginx of the caller's own, unprivileged, on a socket in the work directory. Sourced, after broker.sh and install.sh, by scripts/interop.

nginx_root=$(repository_root)/target/interop/shippers/nginx

have_nginx() { unpack_apt "$nginx_root" nginx-light && need_command curl curl; }

# nginx_start DIRECTIVES: serves the files of $work/nginx/files on $nginx_socket; DIRECTIVES stand in the http block.
nginx_start() {
    local dir=$work/nginx temp
    nginx_socket=$dir/socket
    mkdir -p "$dir/files"
    {
        echo "daemon off; master_process off; pid $dir/pid; error_log $dir/error.log; events {}"
        echo "http { server { listen unix:$nginx_socket; root $dir/files; }"
        for temp in client_body proxy fastcgi uwsgi scgi; do echo "${temp}_temp_path $dir/$temp;"; done
        echo "$1"
        echo "}"
    } > "$dir/nginx.conf"
    "$nginx_root/usr/sbin/nginx" -c "$dir/nginx.conf" -e "$dir/error.log" &
    nginx_pid=$!
    for _ in $(seq 200); do [ -S "$nginx_socket" ] && return 0; sleep 0.02; done
    fail "nginx did not start: $(cat "$dir/error.log")"
}

# nginx_stop: an orderly stop; what it logged is complete then.
nginx_stop() { kill -TERM "$nginx_pid" && wait "$nginx_pid" || true; }
