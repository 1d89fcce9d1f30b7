// Cron runs jobs at their times on a fleet of processes, each job one run at a time,
// although every process knows every job and none is in charge. A run is done under
// the lock of its job, page by page, and each page goes to etcd with the lock's token
// in a transaction that the lock guards. So a run whose process dies is resumed by
// another after the last page, runs missed while no process was up are caught up by one
// run, and a process that resumes too late changes nothing.
//
//	go run ./examples/cron                                 # processes are killed, ended and paused
//	go run ./examples/cron -endpoints localhost:2379       # the program itself, once or more
//
// program.go and schedule.go are to be copied: what does the jobs, and when they are due.
// They need none of the other files. show.go does things to copies of the program. The exit
// code is 1 if a run took place twice, or if a token went down from one write to the next.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "cron",
		About: `Processes share the runs of two cron jobs. One dies in the middle of a run, all
are gone for a while, one is stopped and resumes too late. With -endpoints, or
ETCDCTL_ENDPOINTS, it is one process of the fleet on your own etcd.`,
		Program: cronMain, Acts: s.acts,
	}).Main()
}
