// Package shard divides work among members.
package shard
