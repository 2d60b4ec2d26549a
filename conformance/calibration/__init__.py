"""Measuring the allowance itself: do correct implementations pass, and do planted mistakes fail?"""
