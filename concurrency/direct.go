package concurrency

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
)

// leads notes a term until it ends.
func (s *Session) leads(t *election.Term) {
	s.mu.Lock()
	known := s.terms[t.Key()] == t
	s.terms[t.Key()] = t
	s.mu.Unlock()
	if known {
		return
	}
	context.AfterFunc(t.Context(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.terms[t.Key()] == t {
			delete(s.terms, t.Key())
		}
		delete(s.unsettled, t)
	})
}

// shows reports whether a term has a value and keeps it: the server is asked for that, since
// an operator may have deleted the key or changed what is there.
func (s *Session) shows(ctx context.Context, t *election.Term, val string) (bool, error) {
	resp, err := t.Txn(ctx).Then(clientv3.OpGet(t.Key())).Commit()
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kvs := resp.Responses[0].GetResponseRange().GetKvs()
	return len(kvs) > 0 && string(kvs[0].GetValue()) == val && s.unsettled[t] == 0, nil
}

// proclaim puts a value into a term. If it fails, the value may still be put, but not after
// the next that succeeds.
func (s *Session) proclaim(ctx context.Context, t *election.Term, val string) error {
	s.mu.Lock()
	before := s.unsettled[t]
	s.mu.Unlock()
	err := t.Proclaim(ctx, val)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.unsettled[t] == before:
		delete(s.unsettled, t)
	case err != nil && s.terms[t.Key()] == t:
		s.unsettled[t]++
	}
	return err
}

// proclaimOrResign gives a term up if it cannot have the value given: nobody leads after a
// Campaign that has failed so.
func (s *Session) proclaimOrResign(ctx context.Context, t *election.Term, val string) error {
	err := s.proclaim(ctx, t, val)
	if err != nil && t.Err() == nil {
		_ = t.Resign(ctx) // the session finishes what fails
	}
	return err
}

// term returns the term of the key that the process has, nil if it has none.
func (s *Session) term(key string, rev int64) *election.Term {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.terms[key]; t != nil && t.Token().Revision() == rev && t.Err() == nil {
		return t
	}
	return nil
}

// resumedByOther reports whether another election than user leads with the key.
func (s *Session) resumedByOther(key string, user *Election) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.resumed[key]
	return e != nil && e != user
}

// resumes notes that e leads with a key that somebody else has put.
func (s *Session) resumes(key string, e *Election) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumed[key] = e
}

// unresumed notes that e does not lead any more with a key that somebody else has put.
func (s *Session) unresumed(key string, e *Election) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumed[key] == e {
		delete(s.resumed, key)
	}
}

// replace puts a value under a key of the session's lease if it is still the one that was
// created at rev, and else fails with [election.ErrLost].
func (s *Session) replace(ctx context.Context, key string, rev int64, val string) (*pb.ResponseHeader, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.lease.Context(), cancel)
	defer stop()
	if err := s.lease.Err(); err != nil {
		return nil, err
	}
	resp, err := led(ctx, request{s.client, "concurrency: proclaiming"}, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", rev), clientv3.Compare(clientv3.LeaseValue(key), "=", s.Lease())).
			Then(clientv3.OpPut(key, val, clientv3.WithLease(s.Lease()))).
			Commit()
	})
	switch {
	case err != nil && s.lease.Err() != nil:
		return nil, s.lease.Err()
	case err != nil:
		return nil, err
	case !resp.Succeeded:
		return nil, election.ErrLost
	}
	return resp.Header, nil
}

// removeLeft is remove after the session was left while the key was being given up, which failed
// with before. After a TTL the lease has ended, whatever becomes of the request.
func (s *Session) removeLeft(ctx context.Context, key string, rev int64, before error) error {
	within, cancel := context.WithTimeout(ctx, s.lease.TTL())
	defer cancel()
	err := s.remove(within, key, rev)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return before
	}
	return err
}

// remove deletes a key if it is still the one that was created at rev, and else fails with
// [election.ErrLost].
func (s *Session) remove(ctx context.Context, key string, rev int64) error {
	resp, err := led(ctx, request{s.client, "concurrency: giving up a key"}, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", rev)).Then(clientv3.OpDelete(key)).Commit()
	})
	if err == nil && !resp.Succeeded {
		return election.ErrLost
	}
	return err
}
