module ringmill/godriver

go 1.26.0
