package lock

import "sync"

// Fence guards a resource of this process against holders that were superseded: it
// remembers the highest token it has seen and refuses lower ones. The zero Fence is
// ready and has seen none. One Fence serves one lock name.
//
// It forgets when the process restarts: until a newer token has come in, a stale one
// passes. A resource that outlives the process has to store the highest token
// itself, in the same transaction as the data.
//
// The idea is that of "sequencers" in the Chubby paper (Burrows, OSDI 2006).
type Fence struct {
	mu      sync.Mutex
	highest Token
}

// Check returns a [*StaleTokenError] if a token higher than t has been seen, and otherwise
// notes t. By the time the caller acts, a higher one may have come; use [Fence.Do] for acts
// that must not overlap.
func (f *Fence) Check(t Token) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.check(t)
}

// Do checks t and then calls fn; no other token passes while fn runs. It returns the
// [*StaleTokenError] without having called fn, or fn's error. fn must not use the same
// Fence.
func (f *Fence) Do(t Token, fn func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(t); err != nil {
		return err
	}
	return fn()
}

// Highest returns the highest token seen so far.
func (f *Fence) Highest() Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.highest
}

// check notes t or refuses it. mu must be held.
func (f *Fence) check(t Token) error {
	if t < f.highest {
		return &StaleTokenError{Token: t, Highest: f.highest}
	}
	f.highest = t
	return nil
}
