# Counts an app's access log by slot.
#
# Reads first the app's file (which names the slots' addresses), then sums of parts of the log that are gone (SUM lines),
# then parts of the log. The last line of the input is never counted: it may be half written. Variables: log_name, part,
# sums (1: print SUM lines instead of the answer).

function field(name, from) {
    from = index($0, "\"" name "\":\"")
    if (!from) return ""
    from += length(name) + 4
    return substr($0, from, index(substr($0, from), "\"") - 1)
}

# The bucket of the contract: the least b with ms <= 2^(b/4). nginx measures in whole milliseconds.
function bucket(seconds, ms, b, whole) {
    ms = seconds * 1000
    if (ms < 1) ms = 1
    b = 4 * log(ms) / log(2) - 0.000001
    whole = int(b)
    return whole < b ? whole + 1 : whole
}

function count(slot, failed) {
    if (!(slot in requests)) { requests[slot] = 0; errors[slot] = 0; order[++slots] = slot }
    requests[slot]++
    if (failed) errors[slot]++
}

function line(chosen, status, tries, addr, code, head, i, slot, last, n, failed, seen) {
    n = split(field("a"), addr, /, | : /)
    if (n == 0 || addr[1] == "" || addr[1] == "-") return
    split(field("u"), code, /, | : /)
    split(field("h"), head, /, | : /)
    chosen = field("s")
    status = field("c") + 0
    last = (addr[n] in slot_of) ? slot_of[addr[n]] : chosen
    # Who went away soon has not been left without an answer.
    if (status == 499) {
        if (field("d") + 0 < patience) return
        failed = 1
    } else {
        failed = (status >= 500 || status == 0)
    }
    # Tried before, and could not have it delivered: a request of that slot, too, once.
    for (i = 1; i < n; i++) {
        slot = (addr[i] in slot_of) ? slot_of[addr[i]] : chosen
        if (slot != last && !(slot in seen)) { seen[slot] = 1; count(slot, 1) }
    }
    count(last, failed)
    if (head[n] ~ /^[0-9.]+$/) latency[last, bucket(head[n])]++
}

function take() {
    $0 = held
    if (/^{"t":".*"}$/) line()
    size += length(held) + 1
}

function tell(i, b, slot, key, out, first) {
    for (key in latency) {
        split(key, pair, SUBSEP)
        if (sums) out = " " pair[2] ":" latency[key]
        else out = ((pair[1] in buckets) ? "," : "") "\"" pair[2] "\":" latency[key]
        buckets[pair[1]] = buckets[pair[1]] out
    }
    if (sums) {
        for (i = 1; i <= slots; i++)
            print "SUM " order[i] " " requests[order[i]] " " errors[order[i]] buckets[order[i]]
        return
    }
    printf "{\"cursor\":\"%s:%d:%d\",\"slots\":{", log_name, part, size
    for (i = 1; i <= slots; i++) {
        slot = order[i]
        printf "%s\"%s\":{\"requests\":%d,\"errors\":%d,\"latency\":{%s}}", (i > 1 ? "," : ""), slot, requests[slot],
            errors[slot], buckets[slot]
    }
    print "}}"
}

BEGIN { patience = 5 }

/^# upstream / { slot_of[$4] = $3; next }
/^SUM / {
    if (!($2 in requests)) { requests[$2] = 0; errors[$2] = 0; order[++slots] = $2 }
    requests[$2] += $3
    errors[$2] += $4
    for (i = 5; i <= NF; i++) { split($i, pair, ":"); latency[$2, pair[1]] += pair[2] }
    next
}
# A part of the log follows, from this offset on. What was held back of the part before is whole.
/^LOG [0-9]+$/ {
    if (waiting) take()
    in_log = 1
    waiting = 0
    size = $2
    next
}
!in_log { next }
{
    # One line behind, so that the last one is never taken.
    if (waiting) { now = $0; take(); $0 = now }
    held = $0
    waiting = 1
}
END { tell() }
