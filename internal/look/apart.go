package look

// setApart notes that a step was refused for one of keys.
func (l *List) setApart(keys []finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range keys {
		if _, ok := l.apart[f.key]; !ok {
			l.apart[f.key] = 0
		}
	}
}

// putBack notes that keys could be read.
func (l *List) putBack(keys []finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range keys {
		delete(l.apart, f.key)
	}
	l.readApart = 2 * len(keys)
}

// refuses notes that keys could not be read, and reports whether that is a single one which could
// not be read alone before.
func (l *List) refuses(keys []finding) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(keys) > 1 {
		l.readApart = len(keys) / 2
		return false
	}
	again = l.apart[keys[0].key] > 0
	l.turn++
	l.apart[keys[0].key] = l.turn
	return again
}

// few returns how many of the keys that were set apart a step reads.
func (l *List) few() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.readApart, 1)
}

// batch returns how many keys one transaction may read.
func (l *List) batch() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.maxOps
}

// shrink halves the batch if a transaction of n keys was too large, for servers with a lower
// limit than the default.
func (l *List) shrink(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxOps = max(min(l.maxOps, n/2), 1)
}
