// Command compare lets Conclave and other libraries do the same work in turn on the same
// servers, and says how many times better Conclave is. In internal/compare:
//
//	GOWORK=off go run ./cmd/compare                  measures all and records it in docs/performance
//	GOWORK=off go run ./cmd/compare -only lock/ ...  measures and records some works anew
//	GOWORK=off go run ./cmd/compare -quick           tries in a minute or two whether all works
//	GOWORK=off go run ./cmd/compare -check           fails if a ratio is far below the recorded one
//	GOWORK=off go run ./cmd/compare -charts          makes charts and tables of the recorded figures again
//	GOWORK=off go run ./cmd/compare -list            lists the works
//
// Servers are processes of their own: copies of this one that run an etcd member, and
// redis-server from the PATH. They end with it. Files are written at the end, so that a
// run that is interrupted leaves the recorded ones as they were.
package main
