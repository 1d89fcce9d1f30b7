package perf

// Dir is the directory below which members with fsync keep their data.
var Dir = disk
