// Package examples is the root of a module of runnable programs, one folder
// each. They are a module of their own so that what they import never reaches
// the go.mod of those who import the library.
package examples
