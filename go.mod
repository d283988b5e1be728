module github.com/wspawn/wspawn

go 1.26
