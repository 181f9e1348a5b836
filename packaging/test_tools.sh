#!/bin/sh
# System packages that some tests use for real. Installed when we may (root and apt); otherwise the tests that
# need them say what they skipped and why, and fail under CI=true.
set -eu
missing=""
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing faketime"
# initdb, which Debian keeps out of PATH: the tests start a private server, never the system's own
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v nats-server >/dev/null 2>&1 || [ -x /usr/sbin/nats-server ] || missing="$missing nats-server"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests:$missing" >&2
    log=$(mktemp)
    if (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing) >"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2
        echo "could not install:$missing (the tests that need it will say so)" >&2
    fi
else
    echo "not installed:$missing (apt install$missing as root; the tests that need it will be skipped)" >&2
fi
