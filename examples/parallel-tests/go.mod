module parallel-tests

go 1.19

require boxlite v0.0.0

replace boxlite => ../../bindings/go
