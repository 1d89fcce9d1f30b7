module github.com/conclave-go/conclave/examples

go 1.26.0

replace github.com/conclave-go/conclave => ../
