package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// Below the prefix of all keys.
const (
	lockKey   = "lock/"   // and the job: its lock
	stateKey  = "state/"  // and the job: its latest run, finished or not
	resultKey = "result/" // and the job and the time: a run that is finished
)

// page is a piece of a run, and who has written it.
type page struct {
	Worker string
	Token  lock.Token
}

// record is what etcd has of one run of a job.
type record struct {
	Job    string
	Slot   time.Time // for which the job was due
	Missed int       // times before that, since the last run, that nothing was done for
	Pages  []page
	Done   bool
}

// errTwice is that a run has a result already. The lock is there to prevent it.
var errTwice = errors.New("the run has taken place already")

// load returns the latest run of a job, the zero record if it never had one.
func (r *runner) load(ctx context.Context, j job) (last record, err error) {
	got, err := r.client.Get(ctx, r.job.Prefix+stateKey+j.name)
	if err != nil || len(got.Kvs) == 0 {
		return last, err
	}
	return last, json.Unmarshal(got.Kvs[0].Value, &last)
}

// store writes a run under the lock: neither key changes if that is lost. The result
// comes to be together with the last page.
func (r *runner) store(ctx context.Context, h *lock.Hold, rec record) error {
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	txn := h.Txn(ctx)
	ops := []clientv3.Op{clientv3.OpPut(r.job.Prefix+stateKey+rec.Job, string(value))}
	if rec.Done && len(rec.Pages) > 0 {
		result := r.job.Prefix + resultKey + rec.Job + "/" + rec.Slot.Format(time.RFC3339)
		txn = txn.If(clientv3.Compare(clientv3.CreateRevision(result), "=", 0))
		ops = append(ops, clientv3.OpPut(result, string(value)))
	}
	resp, err := txn.Then(ops...).Commit()
	if err == nil && !resp.Succeeded {
		err = errTwice
	}
	return err
}

// authors says who wrote which pages: "1-2 by w1, token 12; 3-4 by w2, token 30".
func (rec record) authors() string {
	var parts []string
	for from := 0; from < len(rec.Pages); {
		n := slices.IndexFunc(rec.Pages[from:], func(p page) bool { return p != rec.Pages[from] })
		if n < 0 {
			n = len(rec.Pages) - from
		}
		which := fmt.Sprintf("%d-%d", from+1, from+n)
		if n == 1 {
			which = fmt.Sprint(from + 1)
		}
		parts = append(parts, fmt.Sprintf("%s by %s, token %s", which, rec.Pages[from].Worker, rec.Pages[from].Token))
		from += n
	}
	return strings.Join(parts, "; ")
}
