// Package theatre is what the shows of programs to copy have in common. It runs copies of a
// program as processes, kills, ends, pauses and cuts off the active one, which leads or
// holds a lock, and checks what they log against each other and against etcd. What happened
// is told in lines, shown live on a board, and drawn on a page with a lane for each copy.
package theatre
