module gleitzeit

go 1.26
