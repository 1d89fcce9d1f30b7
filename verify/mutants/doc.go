// Command mutants changes Conclave in small ways, one at a time, and looks whether its
// tests notice:
//
//	go run ./verify/mutants                 # all, with a table of what survived
//	go run ./verify/mutants -only lease     # those whose name contains lease
//	go run ./verify/mutants -list           # what there is
//
// A mutant replaces one piece of a function's text, which has to be there exactly once:
// a mutant that does not fit the code any more fails the program. All mutants of a package
// are compiled into one test binary, in which an environment variable chooses one; the
// files of the repository are not touched, since the changed ones are an overlay.
//
// A mutant is killed if a test fails, or does not end. It survives if all pass. One that is
// the same to every user is said to be equivalent, with the reason, and has to survive.
package main
