package lease

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Reason is the kind of reason for which a lease or a hold is lost, or an acquisition
// fails. There are few enough to label a metric.
type Reason int

const (
	// ReasonNone means that all went well.
	ReasonNone Reason = iota
	// ReasonDeadline means that no renewal was confirmed before the deadline.
	ReasonDeadline
	// ReasonRevoked means that the server does not know the lease: it was revoked, or
	// has expired there.
	ReasonRevoked
	// ReasonDeleted means that somebody else has deleted the key.
	ReasonDeleted
	// ReasonClosed means that the lease, the session or the client was closed.
	ReasonClosed
	// ReasonTaken means that a Try found the lock taken.
	ReasonTaken
	// ReasonCanceled means that the caller's context was cancelled.
	ReasonCanceled
	// ReasonTimeout means that the deadline of the caller's context has passed.
	ReasonTimeout
	// ReasonRefused means that the server has refused a request, for example for lack
	// of permission.
	ReasonRefused
	// ReasonOther is any other.
	ReasonOther
)

// String returns a word; that of [ReasonNone] is empty.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonDeadline:
		return "deadline"
	case ReasonRevoked:
		return "revoked"
	case ReasonDeleted:
		return "deleted"
	case ReasonClosed:
		return "closed"
	case ReasonTaken:
		return "taken"
	case ReasonCanceled:
		return "canceled"
	case ReasonTimeout:
		return "timeout"
	case ReasonRefused:
		return "refused"
	case ReasonOther:
		return "other"
	default:
		return fmt.Sprintf("Reason(%d)", int(r))
	}
}

// ReasonOf returns the kind of an error that this package, lock or election has returned,
// or that was the cause of the end of a lease or a hold.
func ReasonOf(err error) Reason {
	switch {
	case err == nil:
		return ReasonNone
	case errors.Is(err, ErrClosed), errors.Is(err, errClientClosed):
		return ReasonClosed
	case errors.Is(err, context.Canceled): // before what the last attempt failed with
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, errDeadline):
		return ReasonDeadline
	case errors.Is(err, errUnknown):
		return ReasonRevoked
	case attempt.Code(err) != codes.Unknown:
		return ReasonRefused
	}
	if other, ok := errors.AsType[reasoned](err); ok {
		return other.Reason()
	}
	return ReasonOther
}

// reasoned is an error of another package that knows its kind.
type reasoned interface {
	error
	Reason() Reason
}
