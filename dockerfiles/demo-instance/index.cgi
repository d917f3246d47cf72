#!/bin/sh
# The front page: what this instance is.
first() { cat "$@" 2>/dev/null | head -n 1; }
printf 'Content-Type: text/html\r\n\r\n'
cat <<HTML
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>$(hostname)</title>
<style>body { font: 16px sans-serif; margin: 3em auto; max-width: 40em } td { padding: .3em 1em .3em 0 }</style></head>
<body>
<h1>$(hostname)</h1>
<p>An OpenStack instance, running as a container.</p>
<table>
<tr><td>Addresses</td><td>$(ip -o -4 address show scope global 2>/dev/null | awk '{ print $4 }' | xargs)</td></tr>
<tr><td>Kernel</td><td>$(uname -sr)</td></tr>
<tr><td>CPUs of the host</td><td>$(nproc)</td></tr>
<tr><td>Memory limit (bytes)</td><td>$(first /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes)</td></tr>
<tr><td>Processes</td><td>$(ps | wc -l)</td></tr>
<tr><td>Time</td><td>$(date -u '+%Y-%m-%d %H:%M:%S UTC')</td></tr>
</table>
</body></html>
HTML
