"""The providers' public administration APIs, one file each: making keys and taking them back.

Administrative credentials go to the origins named here and to no other, inference hosts
least of all.
"""
