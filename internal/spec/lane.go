package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// lane says which entries are in an entry's way, as its key tells.
type lane struct {
	// queue is what all keys of the queue begin with.
	queue string
	// behind is what the keys of those begin with that it waits for.
	behind string
	reads  bool // writers alone are in its way, unless they were put again
	weight int  // of a semaphore, 0 otherwise
	// permits is how many a semaphore has.
	permits int
}

// leaseOf returns the lease that an entry is called after: by its hexadecimal ID, and
// perhaps a slot and a weight; 0 if the key is not one of an entry.
func leaseOf(key string) int64 {
	if strings.Contains(key, own+"request/") { // in the same order, below a kind of its own
		return 0
	}
	name := key[len(dirOf(key)):]
	if i := strings.IndexAny(name, "-~"); i >= 0 {
		name = name[:i]
	}
	id, err := strconv.ParseInt(name, 16, 64)
	if err != nil {
		return 0
	}
	return id
}

// isEntry reports whether key is called as an entry of the lease is.
func isEntry(key string, id int64) bool { return id != 0 && leaseOf(key) == id }

// dirOf returns a key up to its last slash.
func dirOf(key string) string { return key[:strings.LastIndexByte(key, '/')+1] }

const own = "/~" // what Conclave's own segments begin with

func laneOf(key string) lane {
	dir := dirOf(key)
	l := lane{queue: dir, behind: dir}
	i := strings.LastIndex(dir, own)
	if i < 0 {
		return l // of another library's layout
	}
	_, below, _ := strings.Cut(dir[i+1:], "/")
	l.queue = dir[:len(dir)-len(below)]
	switch below {
	case "w/":
		l.behind = l.queue
	case "r/":
		l.behind, l.reads = l.queue+"w/", true
	default:
		l.permits, _ = strconv.Atoi(strings.TrimSuffix(below, "/"))
		if l.permits > 0 {
			l.weight = weightOf(key)
		}
	}
	return l
}

func weightOf(key string) int {
	weight, err := strconv.Atoi(key[strings.LastIndexByte(key, '~')+1:])
	if err != nil || weight < 1 {
		return 1
	}
	return weight
}

// inTheWay says who of the older entries is in the way, "" if nobody is. They are all
// there are, the oldest first.
func (l lane) inTheWay(older []Change) string {
	sum := l.weight
	for _, c := range older {
		if l.reads && c.Version > 1 {
			continue
		}
		if l.weight == 0 {
			return fmt.Sprintf("%q of revision %d was in its way", c.Key, c.Created)
		}
		if sum += weightOf(c.Key); sum > l.permits {
			return fmt.Sprintf("the older ones had %d of %d permits", sum-l.weight, l.permits)
		}
	}
	return ""
}
