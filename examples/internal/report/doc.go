// Package report writes down what an example's processes did, as a page with a time
// line for each act.
package report
