package main

import "ringmill/godriver"

func (d *driver) extras(*godriver.Request) (godriver.Answer, error) { return nil, nil }
