#!/bin/sh
# Changes routes and kills everything in the middle, again and again; every start must serve what the files say.
# The first process of a container, so that a signal to all spares it.
rounds=$1 port=$2 app=$3
edge=/opt/deploymind-edge/dm-edge
count=0 old=0 new=0
while [ "$count" -le "$rounds" ]; do
    $edge run >/dev/null 2>/tmp/run.log &
    tries=0
    until $edge alive >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then echo "BAD round $count: does not start: $(cat /tmp/run.log)"; exit 1; fi
        sleep 0.02
    done
    if [ "$count" -gt 0 ]; then
        says="$($edge standing "$app" | sed 's/.*"new":"\([^"]*\)".*/\1/')"
        serves="$(curl -qs --max-time 5 "http://127.0.0.1:$port/")"
        case "$says" in
            dm-shop-1) old=$((old + 1)) ;;
            dm-shop-2) new=$((new + 1)) ;;
            *) echo "BAD round $count: it stands at '$says'"; exit 1 ;;
        esac
        if [ "$says" != "$serves" ]; then echo "BAD round $count: says $says, serves $serves"; exit 1; fi
    else
        $edge put docker://local 1 "$app" </opt/1.conf >/dev/null || { echo "BAD first"; exit 1; }
        says=dm-shop-1
    fi
    if [ "$says" = dm-shop-1 ]; then next=2; else next=1; fi
    $edge put docker://local 1 "$app" <"/opt/$next.conf" >/dev/null 2>&1 &
    # Long enough that some changes end, short enough that most do not.
    sleep "$(awk -v n="$count" 'BEGIN { srand(n * 7919); printf "%.3f", rand() * 0.4 }')"
    kill -9 -1
    wait
    count=$((count + 1))
done
echo "DONE $rounds rounds: $old at 1, $new at 2"
