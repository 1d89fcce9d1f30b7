// Command docscheck checks the Markdown files of this repository against the repository:
//
//	go run ./internal/docscheck [root]
//
// It looks at every *.md file and reports, one per line with its place,
//
//   - relative links whose file, heading or line does not exist,
//   - Go blocks that do not compile,
//   - commands in sh blocks and in code spans that name a program, flag, make target,
//     file, folder or test that does not exist,
//   - blocks that are not what is in the file they are a copy of,
//   - tests, benchmarks and examples named in code spans that do not exist.
//
// It uses no network; addresses outside the repository are not looked at.
//
// # Go blocks
//
// A block is compiled in the module of this repository that has what it imports, without
// being written there. A block without a package clause is a fragment. If it declares a
// function or a type, it stands at the top level of a file, and otherwise in a function
// that returns an error and has a ctx, a client and a session. Packages that are used are
// imported, and variables need not be used. What else it needs stands in an HTML comment
// right before the block, which readers do not see:
//
//	<!-- go
//	func writeReport(context.Context, lock.Token) error
//	-->
//
// A block that is a whole file of the repository says so in the comment before it:
//
//	<!-- file: examples/start/lock/main.go -->
//
// Packages below internal can be used by blocks of external test packages only, because
// readers of the others cannot import them.
package main
