// Package process runs copies of the running program in other roles, each told its job on
// its standard input and reporting lines of JSON on its standard output, so that they can
// be stopped, continued and killed one by one. They share a clock, see [Now].
package process
