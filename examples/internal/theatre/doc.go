// Package theatre is what the shows of programs to copy have in common. It runs copies of
// a program as processes, kills, ends and pauses the one in office, which leads or holds a
// lock, and checks what they log against each other and against etcd.
package theatre
