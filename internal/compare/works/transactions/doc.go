// Package transactions is about software transactional memory: how many transactions commit
// in a second where they conflict, and what one costs where none does.
//
// A transaction moves a unit from one account to another. The peer is clientv3/concurrency,
// of which package concurrency has the names; raw are the requests of one without a
// condition, so that its money is not safe.
package transactions
