// Package compare measures what other lock libraries do where Conclave
// promises something. Every comparison is a test that runs the other library
// as it is published, with the settings it comes with, and shows what a caller
// gets; a release that behaves differently fails the test, and the claim that
// rests on it can be taken back.
//
// It is a module of its own, outside go.work, so that the versions these
// libraries require never choose those that Conclave is built and tested with.
// Run it in its folder with GOWORK=off.
package compare
