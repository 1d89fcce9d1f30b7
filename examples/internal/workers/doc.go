// Package workers runs copies of an example as worker processes, does to them what
// their users fear, and puts what they report in the order in which it happened.
package workers
