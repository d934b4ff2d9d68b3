"""The languages of the tabletop's families: planar (reach, push) and grasping (lift, place)."""
